"""python -m halfsafe: the command line."""

from _halfsafe import main

if __name__ == "__main__":
    main()
