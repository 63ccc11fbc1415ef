//! Rules that hold for all operations together.
