"""New records as the service writes them down: every field a document has, in its order."""

from __future__ import annotations

from sync_pipeline.sandbox.clockify.http import Json

CLIENT: Json = {
    "id": "", "name": "", "email": None, "workspaceId": "", "archived": False, "address": None, "note": None,
    "currencyId": None, "currencyCode": None, "ccEmails": None,
}  # fmt: skip
PROJECT: Json = {
    "id": "", "name": "", "hourlyRate": None, "clientId": "", "workspaceId": "", "billable": False, "memberships": [],
    "color": "#03A9F4", "estimate": {"estimate": "PT0S", "type": "AUTO"}, "archived": False, "note": "", "costRate": None,
    "timeEstimate": {
        "estimate": "PT0S", "type": "AUTO", "resetOption": None, "active": False, "includeNonBillable": True,
    },
    "budgetEstimate": None, "estimateReset": None, "template": False, "public": False,
}  # fmt: skip
MEMBERSHIP: Json = {
    "userId": "", "targetId": "", "membershipType": "PROJECT", "membershipStatus": "ACTIVE", "hourlyRate": None,
    "costRate": None,
}  # fmt: skip
TASK: Json = {
    "id": "", "name": "", "projectId": "", "assigneeIds": [], "assigneeId": None, "userGroupIds": [], "estimate": "PT0S",
    "status": "ACTIVE", "budgetEstimate": 0, "duration": "PT0S", "billable": False, "hourlyRate": None, "costRate": None,
}  # fmt: skip
TAG: Json = {"id": "", "name": "", "workspaceId": "", "archived": False}
GROUP: Json = {"id": "", "name": "", "workspaceId": "", "userIds": [], "teamManagers": []}
CUSTOM_FIELD: Json = {
    "id": "", "workspaceId": "", "name": "", "description": None, "placeholder": None, "type": "", "allowedValues": [],
    "workspaceDefaultValue": None, "projectDefaultValues": [], "onlyAdminCanEdit": False, "status": "VISIBLE",
    "required": False, "entityType": "TIMEENTRY",
}  # fmt: skip
