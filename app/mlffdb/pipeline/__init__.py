"""The functions behind the commands, one file per stage; what `import mlffdb` offers.

Where a stage needs worker processes, the floor above (mlffdb_workers) brings the two together.
"""
