"""MultiBandDiffusion: codes to sound by diffusion, band by band. Tensors only."""
