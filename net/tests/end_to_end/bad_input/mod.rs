//! Bad input, and what it gets: a refusal that says why, etcd's error, or a closed connection; never a panic, never a
//! change of what is stored, never much memory, and other clients go on.

mod answers;
mod connections;
mod damage;
mod disk_full;
mod frames;
mod large;
mod refusals;
mod slow_watch;
