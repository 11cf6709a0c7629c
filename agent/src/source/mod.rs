//! From an archive, a repository or a registry to an image.
