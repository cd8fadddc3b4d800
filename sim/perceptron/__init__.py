"""The first result: a trained two-layer perceptron classifies digits on the RTL of an array."""
