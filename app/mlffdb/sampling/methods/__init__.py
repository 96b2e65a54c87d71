"""Methods: one module each, found by the default of the field ``type``."""
