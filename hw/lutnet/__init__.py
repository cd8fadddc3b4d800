"""Networks whose neurons are look-up tables: training, circuit, logic view, imports."""
