//! Defects that can be switched on for a thread, to prove that the simulator finds them. Builds without the feature
//! `planted-bugs` have none.

/// A defect of the kind that real storage engines have had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(feature = "planted-bugs"),
    expect(unreachable_pub, reason = "exported only where it can be switched on")
)]
pub enum PlantedBug {
    /// The end of the log is taken as it is read, torn or not.
    TornTailAccepted,
    /// A page that the newest checkpoint needs is overwritten before the next one is complete.
    PageReusedTooEarly,
    /// A scan of past events that pauses in the midst of a revision goes on with the next one.
    WatchEventLost,
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<PlantedBug>> = const { std::cell::Cell::new(None) };
}

/// Switches a defect on, or all off, in everything that this thread does from now on.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<PlantedBug>) {
    PLANTED.set(bug);
}

/// Whether the defect is switched on.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is_planted(bug: PlantedBug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether the defect is switched on: never in this build.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is_planted(_: PlantedBug) -> bool {
    false
}
