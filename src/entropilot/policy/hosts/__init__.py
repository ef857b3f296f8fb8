"""The same objectives inside other trainers: TRL and verl."""
