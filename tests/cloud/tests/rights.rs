//! The table of rights in the documents is that of the template.

use std::collections::BTreeMap;
use std::path::Path;

use perennial_cloud::rights_table;

#[test]
fn the_table_of_rights_is_that_of_the_template() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let names = ["Deployment", "InstanceRoleArns", "KmsKeyArns"];
    let parameters: BTreeMap<_, _> = names.map(|name| (name.to_owned(), format!("<{name}>"))).into();
    let table = rights_table(&project.join("infra/template.yaml"), &parameters).unwrap();
    let shown = std::fs::read_to_string(project.join("docs/RIGHTS.md")).unwrap();
    assert!(shown.trim_end() == table.trim_end(), "docs/RIGHTS.md is not what `make rights` writes: run it");
}
