//! Names of resources: one type per kind, so that a zone can never stand where a group is meant.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! name {
    ($($(#[$doc:meta])* $type:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(String);

        impl $type {
            /// The name as given; the caller has checked it against the rule of its kind.
            pub fn new(name: impl Into<String>) -> Self {
                Self(name.into())
            }

            /// The name as the user wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

name! {
    /// A region: a label shared by VPCs and transit routers.
    RegionName;
    /// A zone: a label shared by vSwitches, load balancers and nodes.
    ZoneName;
    /// A VPC.
    VpcName;
    /// A vSwitch, unique within its VPC.
    VswitchName;
    /// A transit router.
    TransitRouterName;
    /// A next hop: one tunnel endpoint of a transit router.
    NextHopName;
    /// A load balancer.
    LoadBalancerName;
    /// A server group.
    ServerGroupName;
    /// A listener.
    ListenerName;
    /// A health check template.
    HealthCheckTemplateName;
    /// A rule of a listener.
    RuleName;
    /// An access control list.
    AclName;
    /// A certificate in the store.
    CertificateName;
    /// A TLS security policy.
    SecurityPolicyName;
}
