"""VTA: a tensor core that runs the published Versatile Tensor Accelerator instruction set."""
