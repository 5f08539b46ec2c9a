"""`python -m tenun` is the command `tenun`."""

from .cli import main

if __name__ == "__main__":
    main()
