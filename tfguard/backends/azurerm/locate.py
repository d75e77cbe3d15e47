"""From the azurerm backend's attributes to the lock that stands beside Terraform's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from tfguard.backends.attributes import Attributes
from tfguard.backends.azurerm.clouds import cloud_of
from tfguard.backends.azurerm.names import FOLDER, GUARD_SUFFIX
from tfguard.backends.azurerm.spec import AzureAccess, AzureSpec, AzureState
from tfguard.backends.target import Target
from tfguard.text import printable

_TRUE = {"1", "t", "T", "true", "TRUE", "True"}


def azure_lock(settings: Attributes, directory: Path, workspace: str, environ: Mapping[str, str]) -> Target:
    """Find the lock of a workspace."""
    container, key = settings.required("container_name"), settings.required("key")
    access = azure_access(settings, directory, environ)
    if workspace != "default":
        key = f"{key}env:{workspace}"
    blob = _asked_for(key)
    guard = f"{FOLDER}{blob}{GUARD_SUFFIX}"
    return Target(
        label=printable(f"{container}/{key}"),
        path=f"{container}/{key}",
        backend="azurerm",
        workspace=workspace,
        stores=(AzureSpec(container=container, key=guard, azure=access, state_key=blob),),
        state=AzureState(container=container, key=blob, azure=access),
    )


def _asked_for(key: str) -> str:
    """Return the blob that Terraform asks for: it takes a key for what stands in an address (seen with 1.11)."""
    return unquote(key.partition("?")[0])


def azure_access(settings: Attributes, directory: Path, environ: Mapping[str, str], account: str = "") -> AzureAccess:
    """
    Say how Azure is reached, in Terraform's order: the backend, then its variables. Their names are Terraform's.

    Raises:
        ConfigError: No account, or a cloud that nobody knows.

        StoreUnavailable: The `metadata_host` does not say where the cloud is.
    """

    def said(name: str, *variables: str) -> str:
        return settings.text(name) or next(filter(None, map(environ.get, variables)), "")

    def is_on(name: str, variable: str, default: bool = False) -> bool:
        flag = settings.flag(name)
        if flag is not None:
            return flag
        return environ[variable] in _TRUE if environ.get(variable) else default

    def path(name: str, *variables: str) -> str:
        """A path counts from where Terraform runs."""
        text = said(name, *variables)
        return os.path.join(directory, text) if text else ""

    host = said("metadata_host", "ARM_METADATA_HOSTNAME", "ARM_METADATA_HOST")
    cloud = cloud_of(said("environment", "ARM_ENVIRONMENT") or "public", host, environ)
    is_workload = is_on("use_aks_workload_identity", "ARM_USE_AKS_WORKLOAD_IDENTITY")
    return AzureAccess(
        account=account or settings.required("storage_account_name"),
        suffix=cloud.suffix,
        login=cloud.login,
        management=cloud.management,
        access_key=said("access_key", "ARM_ACCESS_KEY"),
        sas_token=said("sas_token", "ARM_SAS_TOKEN").removeprefix("?"),
        use_azuread=is_on("use_azuread_auth", "ARM_USE_AZUREAD"),
        lookup_endpoint=is_on("lookup_blob_endpoint", "ARM_USE_LOOKUP_BLOB_ENDPOINT"),
        resource_group=said("resource_group_name"),
        subscription=said("subscription_id", "ARM_SUBSCRIPTION_ID"),
        tenant=said("tenant_id", "ARM_TENANT_ID") or (environ.get("AZURE_TENANT_ID", "") if is_workload else ""),
        client=said("client_id", "ARM_CLIENT_ID") or (environ.get("AZURE_CLIENT_ID", "") if is_workload else ""),
        client_file=path("client_id_file_path", "ARM_CLIENT_ID_FILE_PATH"),
        client_secret=said("client_secret", "ARM_CLIENT_SECRET"),
        client_secret_file=path("client_secret_file_path", "ARM_CLIENT_SECRET_FILE_PATH"),
        certificate=said("client_certificate", "ARM_CLIENT_CERTIFICATE"),
        certificate_file=path("client_certificate_path", "ARM_CLIENT_CERTIFICATE_PATH"),
        certificate_password=said("client_certificate_password", "ARM_CLIENT_CERTIFICATE_PASSWORD"),
        use_oidc=is_on("use_oidc", "ARM_USE_OIDC"),
        oidc_token=said("oidc_token", "ARM_OIDC_TOKEN"),
        oidc_token_file=path("oidc_token_file_path", "ARM_OIDC_TOKEN_FILE_PATH")
        or (environ.get("AZURE_FEDERATED_TOKEN_FILE", "") if is_workload else ""),
        oidc_request_url=said(
            "oidc_request_url", "ARM_OIDC_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_URL", "SYSTEM_OIDCREQUESTURI"
        ),
        oidc_request_token=said(
            "oidc_request_token", "ARM_OIDC_REQUEST_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "SYSTEM_ACCESSTOKEN"
        ),
        ado_connection=said(
            "ado_pipeline_service_connection_id",
            "ARM_ADO_PIPELINE_SERVICE_CONNECTION_ID",
            "ARM_OIDC_AZURE_SERVICE_CONNECTION_ID",
        ),
        use_workload_identity=is_workload,
        use_msi=is_on("use_msi", "ARM_USE_MSI"),
        msi_endpoint=said("msi_endpoint", "ARM_MSI_ENDPOINT"),
        use_cli=is_on("use_cli", "ARM_USE_CLI", default=True),
    )
