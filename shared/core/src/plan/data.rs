//! Data volumes.
use super::Draft;
use crate::ids::{Resource, VolumeId};
use crate::observation::VolumeFacts;
pub(crate) fn made(draft: &mut Draft<'_>, device: &str, facts: &VolumeFacts) {
    let _ = (draft, device, facts);
}
pub(crate) fn adopted(draft: &mut Draft<'_>, volume: &VolumeId) {
    let _ = (draft, volume);
}
pub(crate) fn handed_over(draft: &mut Draft<'_>, resource: &Resource) {
    let _ = (draft, resource);
}
