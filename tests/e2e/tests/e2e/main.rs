//! The real function binaries in the local cloud: what an operator sees in the account, and nothing else, is asserted.

#[cfg(test)]
mod backed;
#[cfg(test)]
mod backup_faults;
#[cfg(test)]
mod backups;
#[cfg(test)]
mod capacity;
#[cfg(test)]
mod config;
#[cfg(test)]
mod data;
#[cfg(test)]
mod deployment;
#[cfg(test)]
mod drift;
#[cfg(test)]
mod ended;
#[cfg(test)]
mod estate;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod groups;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod moved;
#[cfg(test)]
mod odd;
#[cfg(test)]
mod recovery;
#[cfg(test)]
mod rights;
#[cfg(test)]
mod ring;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tale;
#[cfg(test)]
mod traps;
