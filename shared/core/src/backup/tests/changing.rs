//! The operator changes the image by hand, or turns backups off and on.

use super::*;

fn says() -> Value {
    item(json!({"frequency": "hourly", "keep": 2}))
}

#[test]
fn the_manual_change_is_off_then_the_image_then_recycle_then_on() {
    for image in ["ami-base2", ""] {
        let mut world = hourly().backed_up(2);
        let old = world.effective().unwrap();
        world.edit(off());
        world.minutes(2);
        world.recycle();
        assert_eq!(world.runs(1).1, old, "off alone changes nothing");
        assert!(notices(&world.group)[0].contains("members start from the last backup"));
        world.edit(with_image(off(), image));
        world.minutes(2);
        assert_eq!(notices(&world.group), Vec::<String>::new());
        world.recycle();
        let new = if image.is_empty() { "ami-base" } else { image };
        assert_eq!((world.runs(1).1, world.runs(2).1), (ami(new), ami(new)));
        world.edit(with_image(says(), image));
        world.minutes(2);
        assert_eq!(world.effective(), None, "until there is a backup of it, the new image is the one");
        let made = world.sources.len();
        world = world.backed_up(1);
        assert_eq!(world.sources.len(), made + 1);
        world.recycle();
        assert_eq!(Some(world.runs(1).1), world.effective());
    }
}

#[test]
fn turned_on_again_before_all_run_the_new_image_no_older_one_is_taken() {
    for image in ["ami-base2", ""] {
        let mut world = hourly().backed_up(2);
        world.recycle();
        world.edit(with_image(off(), image));
        world.minutes(2);
        world.edit(with_image(says(), image));
        let made = world.account.made.len();
        world.minutes(130);
        assert_eq!(
            (world.account.made.len(), world.effective()),
            (made, None),
            "{image}: {:#?}",
            world.notes
        );
        assert!(notices(&world.group)[0].contains("Raise recycle"), "{:?}", notices(&world.group));
        world.interrupt(2);
        world.minutes(80);
        let (new, _) = world.runs(2);
        assert!(world.sources[made..].iter().all(|it| *it == new), "{image}");
        assert!(world.sources.len() > made, "{image}");
    }
}

/// The one it runs was rotated out long before the image was changed, and only its members still know it.
#[test]
fn what_runs_a_backup_of_a_former_line_that_is_long_gone_is_no_source() {
    for image in ["ami-base2", ""] {
        let mut world = hourly().backed_up(1);
        world.recycle();
        let old = world.effective().unwrap();
        world = world.backed_up(1);
        world.interrupt(2);
        world = world.backed_up(3);
        assert!(world.account.image(&old).is_none());
        assert_eq!(world.runs(1).1, old);
        world.edit(with_image(off(), image));
        world.minutes(2);
        world.member(2).phase = Phase::Paused;
        world.edit(with_image(says(), image));
        let made = world.account.made.len();
        world.minutes(130);
        assert_eq!((world.account.made.len(), world.effective()), (made, None), "{image:?}");
    }
}

#[test]
fn a_changed_image_is_told_of_while_it_is_on_and_has_no_effect() {
    let mut world = hourly().backed_up(1);
    let effective = world.effective().unwrap();
    world.edit(with_image(says(), "ami-base2"));
    world.minutes(2);
    let told = notices(&world.group).join("\n");
    assert!(
        told.contains("launch.image: has no effect") && told.contains("To change to ami-base2"),
        "{told}"
    );
    world.recycle();
    assert_eq!(world.runs(1).1, effective);
    world.edit(says());
    assert_eq!(notices(&world.group), Vec::<String>::new());
    world.edit(with_image(says(), ""));
    assert!(notices(&world.group)[0].contains("To change to the launch template's"));
    // Turned off with it, the new one counts.
    world.edit(with_image(off(), ""));
    world.minutes(2);
    world.recycle();
    assert_eq!(world.runs(1).1, ami("ami-base"));
}

#[test]
fn until_there_is_a_backup_the_operators_image_counts_as_ever() {
    let mut world = hourly();
    world.edit(with_image(says(), "ami-base2"));
    world.minutes(2);
    assert_eq!((notices(&world.group), world.backups().line), (Vec::new(), 2));
    world.recycle();
    assert_eq!(world.runs(1).1, ami("ami-base2"));
    world = world.backed_up(1);
    assert_eq!(world.effective(), world.available().pop());
}

#[test]
fn a_backup_under_way_of_the_image_before_is_kept_and_never_launched() {
    let mut world = hourly();
    world.until_made(1);
    world.edit(with_image(says(), "ami-base2"));
    world.minutes(10);
    assert_eq!((world.effective(), world.available().len()), (None, 1));
    world.recycle();
    assert_eq!(world.runs(1).1, ami("ami-base2"));
    world.account.deregister_by_hand(&ami("ami-none"));
    world = world.backed_up(1);
    let effective = world.effective().unwrap();
    world.account.deregister_by_hand(&effective);
    world.minutes(6);
    assert_eq!(world.effective(), None, "what is of a former line takes no place");
}

#[test]
fn off_and_on_without_another_image_goes_on_where_it_was() {
    let mut world = hourly().backed_up(2);
    let before = (world.effective(), world.backups().line);
    world.edit(off());
    world.minutes(100);
    world.edit(says());
    world.minutes(2);
    assert_eq!((world.effective(), world.backups().line), before);
    assert_eq!(world.account.made.len(), 2, "what was due while it was off is not made up for");
    world = world.backed_up(1);
    assert_eq!(world.effective(), world.available().pop());
}

#[test]
fn a_members_own_image_counts_only_while_it_is_off() {
    let image = GroupImage { effective: ami("ami-b"), base: Some(ami("ami-a")), is_on: true };
    for said in [None, Some(ami("ami-a")), Some(ami("ami-c"))] {
        assert_eq!(image.over(said.as_ref()), Some(&ami("ami-b")));
    }
    let off = GroupImage { is_on: false, ..image };
    assert_eq!(off.over(Some(&ami("ami-a"))), Some(&ami("ami-b")), "until the operator says something else");
    assert_eq!(off.over(Some(&ami("ami-c"))), None);
    assert_eq!(off.over(None), None);
}

#[test]
fn back_to_an_image_of_before_what_runs_it_is_a_source_again() {
    let mut world = hourly().backed_up(1);
    for image in ["ami-base2", "ami-base1"] {
        world.edit(with_image(off(), image));
        world.minutes(1);
        world.recycle();
        world.edit(with_image(says(), image));
        world = world.backed_up(1);
        assert_eq!(world.effective(), world.available().pop(), "{image}");
    }
    assert_eq!(world.backups().line, 3);
}
