"""A web page for people: the models that they may use, each to be tried at once, and how the installation is doing.

`mm-client console` serves it; it needs the extra `console`. It acts with the credentials of the person that starts it,
which it looks up for each call as `mm_client_api` does, and keeps none.
"""
