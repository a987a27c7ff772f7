//! Status checks: what impairs an instance, and what that changes.

use super::*;

/// The checks of an instance and of its host.
fn checks(w: &mut World, instance: &str) -> (&'static str, &'static str) {
    let all = w.cloud.describe_instance_status(&Describe::ids([instance]), true).unwrap();
    (all.items[0].status, all.items[0].system_status)
}

#[test]
fn an_instance_is_impaired_until_it_is_said_to_be_well() {
    let mut w = world();
    let (instance, root) = w.running();
    let other = w.running().0;
    w.events();
    w.pass(45);
    assert_eq!(checks(&mut w, &instance), ("ok", "ok"));
    w.cloud.impair(&instance, true).unwrap();
    let since = w.cloud.now();
    assert_eq!((checks(&mut w, &instance), checks(&mut w, &other)), (("impaired", "ok"), ("ok", "ok")));
    w.pass(600);
    w.cloud.impair(&instance, true).unwrap();
    let ill =
        w.cloud.describe_instance_status(&Describe::filter("instance-status.status", "impaired"), false);
    let ill = ill.unwrap().items;
    assert_eq!((ill.len(), &ill[0].instance_id, ill[0].impaired_since), (1, &instance, Some(since)));
    let hosts = Describe::filter("system-status.status", "impaired");
    assert!(w.cloud.describe_instance_status(&hosts, false).unwrap().items.is_empty());
    // It runs, it writes, and nobody is told.
    assert_eq!((w.state(&instance), w.events()), (InstanceState::Running, vec![]));
    w.cloud.write(WriteTarget::Volume(root), 1).unwrap();
    w.cloud.impair(&instance, false).unwrap();
    assert_eq!(checks(&mut w, &instance), ("ok", "ok"));
}

#[test]
fn checks_come_first_and_only_of_what_runs() {
    let mut w = world();
    let mut request = w.request();
    request.spec.market = None;
    let id = w.launch(&request).id;
    w.cloud.impair(&id, true).unwrap();
    assert_eq!(checks(&mut w, &id), ("not-applicable", "not-applicable"));
    w.pass(12);
    assert_eq!(checks(&mut w, &id), ("initializing", "initializing"));
    w.pass(45);
    assert_eq!(checks(&mut w, &id), ("impaired", "ok"));
    let ids = std::slice::from_ref(&id);
    w.cloud.stop_instances(ids).unwrap();
    assert_eq!(checks(&mut w, &id), ("not-applicable", "not-applicable"));
    w.pass(15);
    w.cloud.start_instances(ids).unwrap();
    let restarted = w.cloud.now();
    w.pass(57);
    assert_eq!(checks(&mut w, &id), ("impaired", "ok"));
    let again = w.cloud.describe_instance_status(&Describe::ids([&id]), false).unwrap();
    assert_eq!(again.items[0].impaired_since, Some(restarted));
    w.cloud.terminate_instances(ids).unwrap();
    refused(w.cloud.impair(&id, false), "IncorrectInstanceState");
    refused(w.cloud.impair("i-0123456789abcdef0", true), "InvalidInstanceID.NotFound");
    refused(w.cloud.impair("web", true), "InvalidInstanceID.Malformed");
}

#[test]
fn instances_of_a_spoiled_image_never_come_up() {
    let mut w = world();
    let early = w.running().0;
    let image = w.ids.image_id.clone();
    w.cloud.spoil_image(&image).unwrap();
    let late = w.running().0;
    w.pass(45);
    assert_eq!((checks(&mut w, &early), checks(&mut w, &late)), (("ok", "ok"), ("impaired", "ok")));
    let launched = w.cloud.instance(&late).unwrap().launch_time;
    let ill = w.cloud.describe_instance_status(&Describe::ids([&late]), false).unwrap();
    assert_eq!(ill.items[0].impaired_since, Some(launched));
    w.cloud.impair(&late, false).unwrap();
    assert_eq!(checks(&mut w, &late), ("ok", "ok"));
    // Another image is another matter, even one made of such an instance.
    let request = CreateImage {
        instance_id: late,
        name: "mended".to_owned(),
        no_reboot: true,
        ..CreateImage::default()
    };
    let mended = w.cloud.create_image(&request).unwrap().id;
    w.pass(12);
    let mut request = w.request();
    request.spec.image_id = Some(mended);
    let next = w.launch(&request).id;
    w.pass(57);
    assert_eq!(checks(&mut w, &next), ("ok", "ok"));
    refused(w.cloud.spoil_image("ami-0123456789abcdef0"), "InvalidAMIID.NotFound");
    refused(w.cloud.spoil_image("base"), "InvalidAMIID.Malformed");
}
