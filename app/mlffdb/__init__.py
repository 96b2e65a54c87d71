"""mlffdb: training data for machine-learned force fields, in PostgreSQL."""
