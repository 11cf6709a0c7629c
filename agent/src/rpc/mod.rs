//! The wire: one thin file per service, which decodes, calls and encodes.
