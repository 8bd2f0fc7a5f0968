//! What is shown: tables, templates, details.
