"""The NumPy backend's plan with compiled loops where NumPy is bound by calls or by memory; needs the extra `jit`."""
