"""Processes that claim tasks and work: labelling and sampling."""
