//! CreateVolume: what a new volume is, and what is refused.

use super::*;

fn wanted(volume_type: &str, size: u32) -> CreateVolume {
    CreateVolume {
        zone: "us-east-1a".to_owned(),
        size: Some(size),
        volume_type: Some(volume_type.to_owned()),
        ..CreateVolume::default()
    }
}

#[test]
fn a_volume_of_a_snapshot_has_its_contents_and_its_descent() {
    let mut w = world();
    let (instance, _) = w.running();
    let data = w.attached(&instance, "/dev/sdf");
    w.cloud.write(WriteTarget::Volume(data.clone()), 7).unwrap();
    let snapshot = w.snapshot(&data).id;
    w.cloud.write(WriteTarget::Volume(data.clone()), 1).unwrap();
    let tags = Tags::from([("use".to_owned(), "data".to_owned())]);
    let request = CreateVolume {
        size: None,
        snapshot_id: Some(snapshot.clone()),
        tag_specifications: vec![TagSpecification { resource_type: "volume".to_owned(), tags: tags.clone() }],
        ..wanted("gp3", 0)
    };
    refused(w.cloud.create_volume(&request), "IncorrectState");
    w.pass(5);
    w.events();
    let made = w.cloud.create_volume(&request).unwrap();
    assert_eq!((made.state, made.size, &made.tags), (VolumeState::Creating, 10, &tags));
    assert_eq!(made.contents, Contents { writes: 7, lineage: vec![data, snapshot.clone()] });
    assert_eq!(made.snapshot_id.as_deref(), Some(snapshot.as_str()));
    w.pass(2);
    assert_eq!(w.volume_state(&made.id), ("available", vec![]));
    assert_eq!(w.events(), [("EBS Volume Notification".to_owned(), "available".to_owned())]);
    refused(
        w.cloud.create_volume(&CreateVolume { size: Some(9), ..request.clone() }),
        "InvalidParameterValue",
    );
    let nowhere = Some("snap-0123456789abcdef0".to_owned());
    refused(
        w.cloud.create_volume(&CreateVolume { snapshot_id: nowhere, ..request.clone() }),
        "InvalidSnapshot.NotFound",
    );
    let larger = w.cloud.create_volume(&CreateVolume { size: Some(11), ..request }).unwrap();
    assert_eq!(larger.size, 11);
}

#[test]
fn a_blank_volume_is_empty_and_descends_from_nothing() {
    let mut w = world();
    let data = w.data();
    assert_eq!(w.cloud.contents(&data).unwrap(), Contents::default());
    assert_eq!(w.cloud.volume(&data).unwrap().billing, None);
    let sizeless = CreateVolume { size: None, ..wanted("gp3", 0) };
    refused(w.cloud.create_volume(&sizeless), "MissingParameter");
}

#[test]
fn each_type_has_its_bounds() {
    let mut w = world();
    let mut code = |request: CreateVolume| w.cloud.create_volume(&request).err().map(|it| it.code);
    let iops = |volume_type: &str, size: u32, iops: u32| CreateVolume {
        iops: Some(iops),
        ..wanted(volume_type, size)
    };
    let throughput = |iops: u32, throughput: u32| CreateVolume {
        iops: Some(iops),
        throughput: Some(throughput),
        ..wanted("gp3", 100)
    };
    for allowed in [
        wanted("gp2", 1),
        wanted("gp3", 1),
        wanted("st1", 125),
        iops("gp3", 10, 5000),
        iops("io1", 10, 500),
        iops("io2", 10, 10_000),
        throughput(4000, 1000),
    ] {
        assert_eq!(code(allowed.clone()), None, "{allowed:?}");
    }
    let value = [
        wanted("gp9", 1),
        wanted("st1", 124),
        wanted("gp2", 16_385),
        wanted("io1", 3),
        iops("gp3", 10, 2999),
        iops("gp3", 10, 5001),
        iops("io1", 10, 501),
        iops("io1", 10, 99),
        iops("io2", 10, 10_001),
        throughput(3000, 124),
        throughput(3999, 1000),
    ];
    for refused in value {
        assert_eq!(code(refused.clone()).as_deref(), Some("InvalidParameterValue"), "{refused:?}");
    }
    assert_eq!(code(wanted("io2", 10)).as_deref(), Some("MissingParameter"));
    assert_eq!(code(iops("gp2", 10, 100)).as_deref(), Some("InvalidParameterCombination"));
    assert_eq!(code(iops("st1", 125, 100)).as_deref(), Some("InvalidParameterCombination"));
}

#[test]
fn multi_attach_is_for_provisioned_operations_only() {
    let mut w = world();
    let shared = |volume_type: &str| CreateVolume {
        iops: Some(3000),
        multi_attach: Some(true),
        ..wanted(volume_type, 100)
    };
    refused(w.cloud.create_volume(&shared("gp3")), "InvalidParameterCombination");
    assert!(w.cloud.create_volume(&shared("io1")).unwrap().multi_attach);
    assert!(
        !w.cloud.create_volume(&CreateVolume { multi_attach: None, ..shared("io2") }).unwrap().multi_attach
    );
}

#[test]
fn encryption_comes_from_the_call_or_from_the_snapshot_and_is_never_lost() {
    let mut w = world();
    let key = "arn:aws:kms:us-east-1:123456789012:key/1".to_owned();
    let keyed = CreateVolume { kms_key_id: Some(key.clone()), ..wanted("gp3", 10) };
    refused(w.cloud.create_volume(&keyed), "InvalidParameterDependency");
    let volume = w.volume(CreateVolume { encrypted: Some(true), ..keyed });
    let snapshot = w.snapshot(&volume).id;
    w.pass(4);
    let copy = CreateVolume { size: None, snapshot_id: Some(snapshot), ..wanted("gp3", 0) };
    for encrypted in [None, Some(false), Some(true)] {
        let copy = w.cloud.create_volume(&CreateVolume { encrypted, ..copy.clone() }).unwrap();
        assert_eq!((copy.encrypted, copy.kms_key_id), (true, Some(key.clone())));
    }
}

#[test]
fn a_new_volume_needs_a_zone_and_a_token_of_its_own() {
    let mut w = world();
    let elsewhere = CreateVolume { zone: "eu-west-1a".to_owned(), ..wanted("gp3", 10) };
    refused(w.cloud.create_volume(&elsewhere), "InvalidZone.NotFound");
    let token = |token: &str| CreateVolume { client_token: Some(token.to_owned()), ..wanted("gp3", 10) };
    refused(w.cloud.create_volume(&token(&"x".repeat(65))), "InvalidParameterValue");
    let first = w.cloud.create_volume(&token("data")).unwrap();
    assert_eq!(w.cloud.create_volume(&token("data")).unwrap().id, first.id);
    let tagged = CreateVolume {
        tag_specifications: vec![TagSpecification {
            resource_type: "volume".to_owned(),
            tags: Tags::from([("a".to_owned(), "b".to_owned())]),
        }],
        ..token("data")
    };
    refused(w.cloud.create_volume(&tagged), "IdempotentParameterMismatch");
    let wrong = TagSpecification { resource_type: "snapshot".to_owned(), tags: Tags::new() };
    let wrong = CreateVolume { tag_specifications: vec![wrong], ..wanted("gp3", 10) };
    refused(w.cloud.create_volume(&wrong), "InvalidParameterValue");
    assert_eq!(w.cloud.volumes().count(), 1);
}
