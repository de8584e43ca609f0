"""The home of one daemon: its files, keys, configuration and stores."""
