//! Virtual time as an invocation sees it. A pause lets the account's time pass at once.

use jiff::{SignedDuration, Timestamp};
use perennial_engine::ports::Clock;

use crate::world::Handle;

/// The clock of one invocation.
#[derive(Clone, Debug)]
pub struct SimClock {
    world: Handle,
    deadline: Timestamp,
}

impl SimClock {
    /// A clock for an invocation that begins now and may take this long.
    pub fn new(world: &Handle, timeout: SignedDuration) -> Self {
        let deadline = world.0.borrow().cloud.now() + timeout;
        Self { world: world.clone(), deadline }
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.world.0.borrow().cloud.now()
    }

    fn deadline(&self) -> Timestamp {
        self.deadline
    }

    fn call_timeout(&self) -> SignedDuration {
        SignedDuration::from_secs(10)
    }

    async fn pause(&self, how_long: SignedDuration) {
        let over = {
            let mut world = self.world.0.borrow_mut();
            if world.traffic.is_none() {
                world.cloud.pass(how_long);
            }
            world.cloud.now() + how_long
        };
        self.world.reached(over).await;
    }
}
