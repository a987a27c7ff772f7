//! The local cloud as its callers see it: over HTTP on its one port, several clouds at once.

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod delivery;
#[cfg(test)]
mod letters;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod support;
#[cfg(test)]
mod trouble;
