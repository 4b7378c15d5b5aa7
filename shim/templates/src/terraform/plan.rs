//! Plan and state: resources of all modules, and references of the configuration.

use std::collections::BTreeMap;

use serde_json::Value;

/// A plan or a state.
pub(super) struct TerraformPlan<'a> {
    json: &'a Value,
    pub resources: Vec<PlannedResource<'a>>,
    /// Addresses by the id of the resource, known in a state.
    pub ids: BTreeMap<&'a str, &'a str>,
}

/// A resource with the values that are known.
#[derive(Clone, Copy)]
pub(super) struct PlannedResource<'a> {
    /// Such as `module.chat.aws_lambda_function.send["a"]`.
    pub address: &'a str,
    /// Such as `aws_lambda_function`.
    pub kind: &'a str,
    pub values: &'a Value,
    /// Address of the module; empty for the root.
    pub module: &'a str,
}

impl<'a> TerraformPlan<'a> {
    /// Returns `None` for other documents.
    pub(super) fn new(json: &'a Value) -> Option<Self> {
        let values = json.get("planned_values").or_else(|| json.get("values"))?;
        let mut resources = Vec::new();
        collect(values.get("root_module")?, "", &mut resources);
        let ids = resources.iter().filter_map(|r| Some((r.values["id"].as_str()?, r.address))).collect();
        Some(Self { json, resources, ids })
    }

    /// Returns the resource of an address.
    pub(super) fn find(&self, address: &str) -> Option<&PlannedResource<'a>> {
        self.resources.iter().find(|resource| resource.address == address)
    }

    /// Returns a known attribute.
    pub(super) fn known(&self, resource: &PlannedResource<'a>, attribute: &str) -> Option<&'a Value> {
        resource.values.get(attribute).filter(|value| !value.is_null())
    }

    /// Returns the resource and the attribute that an attribute of the configuration refers to.
    pub(super) fn referenced(
        &self,
        resource: &PlannedResource<'a>,
        attribute: &str,
    ) -> Option<(&PlannedResource<'a>, String)> {
        let module = self.module_configuration(resource.module)?;
        let local = local_address(resource);
        let base = local.split('[').next().unwrap_or(local);
        let configured = module["resources"].as_array()?.iter().find(|entry| entry["address"] == base)?;
        let references = configured["expressions"][attribute]["references"].as_array()?;
        let index = local.find('[').map(|start| &local[start..]).unwrap_or_default();
        references
            .iter()
            .filter_map(Value::as_str)
            .find_map(|reference| self.resolve_reference(resource.module, reference, index, 0))
    }

    /// Resolves `type.name.attribute`, `module.name.output` or `var.name` in a module.
    fn resolve_reference(
        &self,
        module: &str,
        reference: &str,
        index: &str,
        depth: usize,
    ) -> Option<(&PlannedResource<'a>, String)> {
        if depth > crate::document::MAX_DEPTH {
            return None;
        }
        let parts: Vec<&str> = reference.split('.').collect();
        let (first, second, third) = (*parts.first()?, *parts.get(1)?, parts.get(2).copied());
        if first == "module" {
            let name = second.split('[').next().unwrap_or(second);
            let inner = join(module, &format!("module.{second}"));
            let output = &self.module_configuration(&join(module, &format!("module.{name}")))?["outputs"][third?];
            let references = output["expression"]["references"].as_array()?.iter().filter_map(Value::as_str);
            return references.into_iter().find_map(|next| self.resolve_reference(&inner, next, index, depth + 1));
        }
        if first == "var" {
            let (parent, call) = module.rsplit_once("module.")?;
            let parent = parent.trim_end_matches('.');
            let call = call.split('[').next().unwrap_or(call);
            let argument = &self.module_configuration(parent)?["module_calls"][call]["expressions"][second];
            let references = argument["references"].as_array()?.iter().filter_map(Value::as_str);
            return references.into_iter().find_map(|next| self.resolve_reference(parent, next, index, depth + 1));
        }
        let address = join(module, &format!("{first}.{second}"));
        let same_instance = format!("{}{index}", address.split('[').next().unwrap_or(&address));
        let found = self.find(&address).or_else(|| self.find(&same_instance))?;
        Some((found, third?.to_owned()))
    }

    /// Returns the configuration of a module by its address.
    fn module_configuration(&self, module: &str) -> Option<&'a Value> {
        let root = self.json.get("configuration")?.get("root_module")?;
        let names = module.split('.').filter(|part| !part.is_empty() && *part != "module");
        names.into_iter().try_fold(root, |configuration, name| {
            let name = name.split('[').next().unwrap_or(name);
            configuration.get("module_calls")?.get(name)?.get("module")
        })
    }

    /// Returns the variables of a function that are known only after `terraform apply`.
    pub(super) fn unknown_variables(&self, address: &str) -> Vec<&'a str> {
        let changes = self.json["resource_changes"].as_array();
        let change = changes.into_iter().flatten().find(|change| change["address"] == address);
        let Some(change) = change else { return Vec::new() };
        let variables = &change["change"]["after_unknown"]["environment"][0]["variables"];
        variables
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(_, unknown)| **unknown == true)
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Returns the source of an archive of the data source `archive_file`.
    pub(super) fn archive_source(&self, output: &str) -> Option<&'a str> {
        let data = &self.json["prior_state"]["values"]["root_module"];
        let mut resources = Vec::new();
        collect_data(data, &mut resources);
        let archive = resources.into_iter().find(|values| values["output_path"] == output)?;
        archive["source_dir"].as_str()
    }
}

fn collect<'a>(module: &'a Value, address: &'a str, found: &mut Vec<PlannedResource<'a>>) {
    for resource in module["resources"].as_array().into_iter().flatten() {
        if resource["mode"] == "data" {
            continue;
        }
        let (Some(full), Some(kind)) = (resource["address"].as_str(), resource["type"].as_str()) else { continue };
        found.push(PlannedResource { address: full, kind, values: &resource["values"], module: address });
    }
    for child in module["child_modules"].as_array().into_iter().flatten() {
        collect(child, child["address"].as_str().unwrap_or_default(), found);
    }
}

fn collect_data<'a>(module: &'a Value, found: &mut Vec<&'a Value>) {
    let resources = module["resources"].as_array().into_iter().flatten();
    found.extend(resources.filter(|resource| resource["type"] == "archive_file").map(|resource| &resource["values"]));
    for child in module["child_modules"].as_array().into_iter().flatten() {
        collect_data(child, found);
    }
}

/// Returns the address without that of the module.
fn local_address<'a>(resource: &PlannedResource<'a>) -> &'a str {
    resource.address.strip_prefix(resource.module).map_or(resource.address, |rest| rest.trim_start_matches('.'))
}

fn join(module: &str, rest: &str) -> String {
    if module.is_empty() { rest.to_owned() } else { format!("{module}.{rest}") }
}
