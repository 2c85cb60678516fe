"""What each feature of a guest kernel costs, measured on kernels built with and without it."""
