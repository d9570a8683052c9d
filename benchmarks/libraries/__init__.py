"""Libraries for spiking neural networks, measured side by side: see run.py."""
