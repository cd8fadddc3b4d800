"""From a trained model to a program for the VTA core: typed graph, operators, visits, stream."""
