"""REST addresses of notifications."""

from django.urls import URLPattern, URLResolver, path

from apps.notifications.api import views

CHANNEL = "notification-channels/<str:channel_id>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("notifications", views.Notifications.as_view(), name="api-notifications"),
    path("notifications/read", views.NotificationsRead.as_view(), name="api-notifications-read"),
    path(
        "notifications/<str:notification_id>/read",
        views.NotificationRead.as_view(),
        name="api-notification-read",
    ),
    path("notification-preferences", views.Preferences.as_view(), name="api-preferences"),
    path("notification-channels", views.Channels.as_view(), name="api-channels"),
    path(CHANNEL, views.ChannelDetail.as_view(), name="api-channel"),
    path(f"{CHANNEL}/enable", views.ChannelEnable.as_view(), name="api-channel-enable"),
    path(f"{CHANNEL}/disable", views.ChannelDisable.as_view(), name="api-channel-disable"),
    path(f"{CHANNEL}/test", views.ChannelTest.as_view(), name="api-channel-test"),
    path(f"{CHANNEL}/secret", views.ChannelSecret.as_view(), name="api-channel-secret"),
    path("deliveries", views.Deliveries.as_view(), name="api-deliveries"),
    path("deliveries/<str:delivery_id>", views.DeliveryDetail.as_view(), name="api-delivery"),
    path(
        "deliveries/<str:delivery_id>/replay",
        views.DeliveryReplay.as_view(),
        name="api-delivery-replay",
    ),
]
