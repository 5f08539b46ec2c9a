"""What is set before a test imports TensorFlow."""

import os

# Its oneDNN kernel for the gradient of a 1×1 kernel with strides goes on to use a primitive that it does not keep, to
# save memory, after that is gone: one run in two of the sweep of Conv2DTranspose crashed.
os.environ.setdefault("TF_MKL_OPTIMIZE_PRIMITIVE_MEMUSE", "false")
