"""MaxSim."""
