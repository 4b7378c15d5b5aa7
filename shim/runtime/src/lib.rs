//! The Lambda Runtime API: runs unmodified Lambda executables and feeds them events.
