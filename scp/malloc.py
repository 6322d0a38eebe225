"""Memory that was freed, given back to the system."""
