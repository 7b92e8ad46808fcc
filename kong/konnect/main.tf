# SPDX-License-Identifier: Apache-2.0
#
# Both plugins on Konnect with Terraform: their schemas, and one instance of
# each on a service that exists. KONNECT_TOKEN in the environment authenticates.

terraform {
  required_providers {
    konnect = {
      source  = "kong/konnect"
      version = ">= 3.9"
    }
  }
}

provider "konnect" {
  server_url = "https://${var.region}.api.konghq.com"
}

variable "region" {
  type        = string
  default     = "us"
  description = "Where the control plane is: us, eu, au, me, in or sg."
}

variable "control_plane_id" {
  type        = string
  description = "The id of the control plane."
}

variable "service_id" {
  type        = string
  description = "The id of the gateway service that leads to the model."
}

variable "prisma_airs_profile" {
  type        = string
  description = "The name of the security profile at Prisma AIRS."
}

resource "konnect_gateway_custom_plugin_schema" "prisma_airs_intercept" {
  control_plane_id = var.control_plane_id
  lua_schema       = file("${path.module}/../../schema/prisma-airs-intercept/schema.lua")
}

resource "konnect_gateway_custom_plugin_schema" "noma_runtime_protection" {
  control_plane_id = var.control_plane_id
  lua_schema       = file("${path.module}/../../schema/noma-runtime-protection/schema.lua")
}

resource "konnect_gateway_custom_plugin" "prisma_airs_intercept" {
  control_plane_id = var.control_plane_id
  name             = konnect_gateway_custom_plugin_schema.prisma_airs_intercept.name
  service          = { id = var.service_id }

  # A reference, which each data plane resolves: the key stays out of the state.
  config = {
    api_key      = "{vault://env/prisma-airs-api-key}"
    profile_name = var.prisma_airs_profile
  }
}

resource "konnect_gateway_custom_plugin" "noma_runtime_protection" {
  control_plane_id = var.control_plane_id
  name             = konnect_gateway_custom_plugin_schema.noma_runtime_protection.name
  service          = { id = var.service_id }

  config = {
    client_id     = "{vault://env/noma-client-id}"
    client_secret = "{vault://env/noma-client-secret}"
  }
}
