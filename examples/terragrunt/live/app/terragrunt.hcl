include "root" {
  path = find_in_parent_folders("root.hcl")
}

dependency "network" {
  config_path = "../network"
}

inputs = {
  subnet = dependency.network.outputs.subnet
}
