//! Elastic IP addresses, secondary addresses and IPv6 as the AWS CLI sends and reads them.

use super::*;

fn ok(cloud: &mut Cloud, action: &str, rest: &str) -> String {
    let answer = call(cloud, action, rest);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

fn code(cloud: &mut Cloud, action: &str, rest: &str) -> String {
    call(cloud, action, rest).error_code.unwrap_or_default()
}

#[test]
fn an_elastic_ip_goes_to_a_running_instance_and_is_shown_everywhere() {
    let (mut cloud, _) = cloud();
    let tag = "&Domain=vpc&TagSpecification.1.ResourceType=elastic-ip&TagSpecification.1.Tag.1.Key=a&TagSpecification.1.Tag.1.Value=b";
    let made = ok(&mut cloud, "AllocateAddress", tag);
    let allocation = field(&made, "allocationId").to_owned();
    assert_eq!((field(&made, "publicIp"), field(&made, "domain")), ("198.18.0.1", "vpc"));
    let run = "&MinCount=1&MaxCount=1&LaunchTemplate.LaunchTemplateName=perennial-demo";
    let run = ok(&mut cloud, "RunInstances", run);
    assert!(!run.contains("<ipAddress>"), "{run}");
    let (instance, eni) = (field(&run, "instanceId"), field(&run, "networkInterfaceId").to_owned());
    let request = format!("&AllocationId={allocation}&NetworkInterfaceId={eni}&AllowReassociation=false");
    assert_eq!(code(&mut cloud, "AssociateAddress", &request), "IncorrectInstanceState");
    cloud.pass(jiff::SignedDuration::from_secs(12));
    let body = ok(&mut cloud, "AssociateAddress", &request);
    let association = field(&body, "associationId").to_owned();

    let address = ok(&mut cloud, "DescribeAddresses", &format!("&AllocationId.1={allocation}"));
    let expected = format!(
        "<addressesSet><item><instanceId>{instance}</instanceId><publicIp>198.18.0.1</publicIp><allocationId>{allocation}</allocationId><associationId>{association}</associationId><networkInterfaceId>{eni}</networkInterfaceId><networkInterfaceOwnerId>123456789012</networkInterfaceOwnerId><privateIpAddress>10.0.1.4</privateIpAddress><domain>vpc</domain><tagSet><item><key>a</key><value>b</value></item></tagSet>"
    );
    assert!(address.contains(&expected), "{address}");
    let by_ip = ok(&mut cloud, "DescribeAddresses", "&PublicIp.1=198.18.0.1");
    assert_eq!(field(&by_ip, "allocationId"), allocation);

    let shown =
        "<publicIp>198.18.0.1</publicIp><publicDnsName></publicDnsName><ipOwnerId>123456789012</ipOwnerId>";
    let instances = ok(&mut cloud, "DescribeInstances", "");
    assert_eq!(field(&instances, "ipAddress"), "198.18.0.1");
    let of_instance = format!("<association>{shown}</association>");
    assert_eq!(instances.matches(&of_instance).count(), 2, "{instances}");
    let interfaces = ok(&mut cloud, "DescribeNetworkInterfaces", &format!("&NetworkInterfaceId.1={eni}"));
    let of_interface = format!(
        "<association>{shown}<allocationId>{allocation}</allocationId><associationId>{association}</associationId></association>"
    );
    assert_eq!(interfaces.matches(&of_interface).count(), 2, "{interfaces}");

    assert_eq!(
        code(&mut cloud, "ReleaseAddress", &format!("&AllocationId={allocation}")),
        "InvalidIPAddress.InUse"
    );
    ok(&mut cloud, "DisassociateAddress", &format!("&AssociationId={association}"));
    ok(&mut cloud, "ReleaseAddress", &format!("&AllocationId={allocation}"));
    assert!(ok(&mut cloud, "DescribeAddresses", "").contains("<addressesSet></addressesSet>"));
}

#[test]
fn secondary_addresses_are_made_assigned_and_unassigned() {
    let (mut cloud, ids) = cloud();
    let subnet = &ids.subnet_ids[0];
    let create = format!(
        "&SubnetId={subnet}&PrivateIpAddresses.1.PrivateIpAddress=10.0.1.30&PrivateIpAddresses.1.Primary=true&PrivateIpAddresses.2.PrivateIpAddress=10.0.1.31"
    );
    let made = ok(&mut cloud, "CreateNetworkInterface", &create);
    assert_eq!(
        field(&made, "privateIpAddressesSet"),
        "<item><privateIpAddress>10.0.1.30</privateIpAddress><privateDnsName>ip-10-0-1-30.ec2.internal</privateDnsName><primary>true</primary></item><item><privateIpAddress>10.0.1.31</privateIpAddress><privateDnsName>ip-10-0-1-31.ec2.internal</privateDnsName><primary>false</primary></item>"
    );
    let eni = field(&made, "networkInterfaceId").to_owned();
    let counted = format!("&SubnetId={subnet}&SecondaryPrivateIpAddressCount=1");
    let counted = ok(&mut cloud, "CreateNetworkInterface", &counted);
    assert_eq!(counted.matches("<primary>").count(), 2);

    let assign = format!("&NetworkInterfaceId={eni}&PrivateIpAddress.1=10.0.1.40&AllowReassignment=false");
    let assigned = ok(&mut cloud, "AssignPrivateIpAddresses", &assign);
    assert_eq!(
        field(&assigned, "assignedPrivateIpAddressesSet"),
        "<item><privateIpAddress>10.0.1.40</privateIpAddress></item>"
    );
    let some = format!("&NetworkInterfaceId={eni}&SecondaryPrivateIpAddressCount=2");
    ok(&mut cloud, "AssignPrivateIpAddresses", &some);
    let found = "&Filter.1.Name=addresses.private-ip-address&Filter.1.Value.1=10.0.1.40";
    let found = ok(&mut cloud, "DescribeNetworkInterfaces", found);
    assert_eq!(field(&found, "networkInterfaceId"), eni);
    let gone = format!("&NetworkInterfaceId={eni}&PrivateIpAddress.1=10.0.1.40&PrivateIpAddress.2=10.0.1.31");
    ok(&mut cloud, "UnassignPrivateIpAddresses", &gone);
    assert_eq!(cloud.network_interface(&eni).unwrap().private_ips().count(), 3);
    let subnet = ok(&mut cloud, "DescribeSubnets", &format!("&SubnetId.1={subnet}"));
    assert_eq!(field(&subnet, "availableIpAddressCount"), "246");
    assert!(subnet.contains("<ipv6CidrBlockAssociationSet></ipv6CidrBlockAssociationSet>"), "{subnet}");
}

#[test]
fn ipv6_goes_from_the_subnet_to_the_interface() {
    let (mut cloud, ids) = cloud();
    let subnet = &ids.subnet_ids[0];
    let block = format!("&SubnetId={subnet}&Ipv6CidrBlock=2001%3Adb8%3A%3A%2F64");
    let associated = ok(&mut cloud, "AssociateSubnetCidrBlock", &block);
    let inner = field(&associated, "ipv6CidrBlockAssociation");
    assert!(inner.starts_with("<associationId>subnet-cidr-assoc-"), "{inner}");
    let shown = ok(&mut cloud, "DescribeSubnets", &format!("&SubnetId.1={subnet}"));
    assert_eq!(field(&shown, "ipv6CidrBlockAssociationSet"), format!("<item>{inner}</item>"));

    let create = format!("&SubnetId={subnet}&Ipv6Addresses.1.Ipv6Address=2001%3Adb8%3A%3A10");
    let made = ok(&mut cloud, "CreateNetworkInterface", &create);
    let one = "<item><ipv6Address>2001:db8::10</ipv6Address><isPrimaryIpv6>false</isPrimaryIpv6></item>";
    assert_eq!(field(&made, "ipv6AddressesSet"), one);
    let eni = field(&made, "networkInterfaceId").to_owned();
    let assign = format!("&NetworkInterfaceId={eni}&Ipv6Addresses.1=2001%3Adb8%3A%3A11");
    let assigned = ok(&mut cloud, "AssignIpv6Addresses", &assign);
    assert_eq!(field(&assigned, "assignedIpv6Addresses"), "<item>2001:db8::11</item>");
    ok(&mut cloud, "AssignIpv6Addresses", &format!("&NetworkInterfaceId={eni}&Ipv6AddressCount=1"));
    let gone = ok(&mut cloud, "UnassignIpv6Addresses", &assign);
    assert_eq!(field(&gone, "unassignedIpv6Addresses"), "<item>2001:db8::11</item>");
    let counted = ok(&mut cloud, "CreateNetworkInterface", &format!("&SubnetId={subnet}&Ipv6AddressCount=2"));
    assert_eq!(counted.matches("<ipv6Address>").count(), 2);
    let primary = format!("{create}1&Ipv6Addresses.1.IsPrimaryIpv6=true");
    assert_eq!(code(&mut cloud, "CreateNetworkInterface", &primary), "UnsupportedOperation");
}

#[test]
fn what_is_not_modelled_is_refused() {
    let (mut cloud, _) = cloud();
    let eni = "&NetworkInterfaceId=eni-0123456789abcdef0";
    let eip = "&AllocationId=eipalloc-0123456789abcdef0";
    let assoc = "&AssociationId=eipassoc-0123456789abcdef0";
    let subnet = "&SubnetId=subnet-0123456789abcdef0&Ipv6CidrBlock=2001%3Adb8%3A%3A%2F64";
    for (action, rest) in [
        ("AllocateAddress", "&PublicIpv4Pool=mine".to_owned()),
        ("ReleaseAddress", format!("{eip}&PublicIp=192.0.2.1")),
        ("DescribeAddresses", "&MaxResults=5".to_owned()),
        ("DescribeAddresses", "&NextToken=x".to_owned()),
        ("DescribeAddresses", "&Colour=red".to_owned()),
        ("AssociateAddress", format!("{eip}{eni}&PublicIp=192.0.2.1")),
        ("DisassociateAddress", format!("{assoc}&PublicIp=192.0.2.1")),
        ("AssignPrivateIpAddresses", format!("{eni}&Ipv4PrefixCount=1")),
        ("UnassignPrivateIpAddresses", format!("{eni}&Ipv4Prefix.1=10.0.1.16%2F28")),
        ("AssignIpv6Addresses", format!("{eni}&Ipv6PrefixCount=1")),
        ("UnassignIpv6Addresses", format!("{eni}&Ipv6Prefix.1=x")),
        ("AssociateSubnetCidrBlock", format!("{subnet}&Ipv6NetmaskLength=64")),
        (
            "CreateNetworkInterface",
            "&SubnetId=x&PrivateIpAddresses.1.PrivateIpAddress=10.0.1.9&PrivateIpAddresses.1.Colour=red"
                .to_owned(),
        ),
        (
            "CreateNetworkInterface",
            "&SubnetId=x&Ipv6Addresses.1.Ipv6Address=a&Ipv6Addresses.1.Colour=red".to_owned(),
        ),
    ] {
        assert_eq!(code(&mut cloud, action, &rest), "UnknownParameter", "{action} {rest}");
    }
    assert_eq!(code(&mut cloud, "AllocateAddress", "&Domain=standard"), "InvalidParameterValue");
    for (action, rest) in [
        ("ReleaseAddress", ""),
        ("AssociateAddress", eni),
        ("DisassociateAddress", ""),
        ("AssignPrivateIpAddresses", "&SecondaryPrivateIpAddressCount=1"),
        ("UnassignIpv6Addresses", ""),
        ("AssociateSubnetCidrBlock", ""),
    ] {
        assert_eq!(code(&mut cloud, action, rest), "MissingParameter", "{action}");
    }
}
