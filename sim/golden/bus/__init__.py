"""Models of what is in `hw/bus`."""
