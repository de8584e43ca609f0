"""The worker process: the only package that imports torch. Jobs in on stdin, answers out on stdout."""
