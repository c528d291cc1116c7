"""PartRM: one picture and a drag in, 3D Gaussians of the moved object out."""
