"""The thin proxy in front of Triton.

`transports` take bytes in and out, `protocols` say what they mean, `serving` leads each packet of each call from its
acceptance to its last answer. `admission` says whether a call and a packet may go on, with `access` for models,
`models` knows what Triton said of its models, `triton` asks Triton. `inference` has the values that all of them share,
and `telemetry` hears of calls. `app` puts them together. A package imports lower ones only, and the build holds that:
docs/architecture.md has the picture.
"""
