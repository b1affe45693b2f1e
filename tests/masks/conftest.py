from hypothesis import settings

# examples run on a shared machine: how long one takes says nothing
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
