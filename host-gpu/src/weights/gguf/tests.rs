//! Values by gguf-py, a file against the Hugging Face directory that says the same, and hostile files.

mod bad_input;
mod equal;
mod values;
mod vocabularies;
mod writer;
