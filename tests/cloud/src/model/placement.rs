//! Capacity and price: whether EC2 has an instance of a type to give, in a Zone and market.
//!
//! Capacity is unlimited until a test says otherwise, and then a count of instances still to be had. What EC2 takes
//! back by an interruption is gone; what a user gives back can be had again.

use super::catalog::{self, InstanceType};
use super::launch_spec::MarketOptions;
use super::{ApiError, Cloud, Market};

impl Cloud {
    /// Sets how many more instances of a type can be had in a Zone and market; `None` lifts the limit.
    pub fn set_capacity(&mut self, instance_type: &str, zone: &str, market: Market, available: Option<u32>) {
        let pools = self.capacity.entry(market).or_default();
        let pool = (instance_type.to_owned(), zone.to_owned());
        match available {
            Some(count) => {
                pools.insert(pool, count);
            }
            None => {
                pools.remove(&pool);
            }
        }
    }

    /// Takes up to `most` instances out of a pool, at least `least`; answers how many.
    pub(crate) fn take_capacity(
        &mut self,
        instance_type: &str,
        zone: &str,
        market: Market,
        least: u32,
        most: u32,
    ) -> Result<u32, ApiError> {
        let pool = (instance_type.to_owned(), zone.to_owned());
        let Some(left) = self.capacity.get_mut(&market).and_then(|pools| pools.get_mut(&pool)) else {
            return Ok(most);
        };
        if *left < least {
            let text = match market {
                Market::Spot => "There is no Spot capacity available that matches your request.".to_owned(),
                Market::OnDemand => format!(
                    "We currently do not have sufficient {instance_type} capacity in the Availability Zone you requested ({zone}). Our system will be working on provisioning additional capacity."
                ),
            };
            return Err(ApiError::with_status("InsufficientInstanceCapacity", text, 500));
        }
        let taken = most.min(*left);
        *left -= taken;
        Ok(taken)
    }

    /// Gives one instance back to its pool.
    pub(crate) fn return_capacity(&mut self, instance_type: &str, zone: &str, market: Market) {
        let pool = (instance_type.to_owned(), zone.to_owned());
        if let Some(left) = self.capacity.get_mut(&market).and_then(|pools| pools.get_mut(&pool)) {
            *left += 1;
        }
    }

    /// The market a launch asks for, or why it cannot be had.
    pub(crate) fn check_market(
        options: Option<&MarketOptions>,
        kind: &InstanceType,
    ) -> Result<Market, ApiError> {
        let Some(options) = options else { return Ok(Market::OnDemand) };
        match options.market_type.as_deref() {
            Some("spot") => {}
            None if *options == MarketOptions::default() => return Ok(Market::OnDemand),
            None => return Err(ApiError::missing("marketType")),
            Some(other) => {
                return Err(ApiError::value(format!("Invalid value '{other}' for marketType.")));
            }
        }
        match options.spot_type.as_deref() {
            None | Some("one-time") => {}
            Some("persistent") => {
                return Err(ApiError::new(
                    "UnsupportedOperation",
                    "Persistent Spot requests are not offered by the local cloud.",
                ));
            }
            Some(other) => {
                return Err(ApiError::value(format!("Invalid value '{other}' for spotInstanceType.")));
            }
        }
        match options.interruption_behavior.as_deref() {
            None | Some("terminate") => {}
            Some("stop" | "hibernate") => {
                return Err(ApiError::combination(
                    "The instance interruption behavior 'stop' and 'hibernate' need a persistent Spot request.",
                ));
            }
            Some(other) => {
                return Err(ApiError::value(format!(
                    "Invalid value '{other}' for instanceInterruptionBehavior."
                )));
            }
        }
        if options.valid_until.is_some() {
            return Err(ApiError::combination("ValidUntil is only supported for persistent requests."));
        }
        if let Some(text) = &options.max_price {
            let price = catalog::price(text)
                .ok_or_else(|| ApiError::value(format!("Invalid value '{text}' for maxPrice.")))?;
            if price < kind.spot_price {
                return Err(ApiError::new(
                    "SpotMaxPriceTooLow",
                    format!(
                        "Your Spot request price of {text} is lower than the minimum required Spot request fulfillment price of {}.",
                        kind.spot_price as f64 / 1e6
                    ),
                ));
            }
        }
        Ok(Market::Spot)
    }
}
