"""What kernels need beside the environment: the layer, the code on their side, and kernelspecs."""
