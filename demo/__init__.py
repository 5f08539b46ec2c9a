"""Two small models, trained by Keras on real data, that come with the package: what `tenun demo` shows."""
