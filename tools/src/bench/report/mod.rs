//! What the user sees: the live line, the table, and the files.

pub mod charts;
pub mod compare_html;
pub mod hdr_log;
pub mod html;
pub mod live;
pub mod number;
pub mod printer;
pub mod table;
