"""Page addresses of notifications."""

from django.urls import URLPattern, URLResolver, path

from apps.notifications.web import channels, views

SETTINGS = "settings/notifications"
CHANNEL = f"{SETTINGS}/channels/<str:channel_id>"

urlpatterns: list[URLPattern | URLResolver] = [
    path("notifications", views.notifications, name="notifications"),
    path("notifications/bell", views.bell, name="bell"),
    path("notifications/read", views.read_all, name="notifications-read"),
    path("notifications/<str:notification_id>/read", views.read, name="notification-read"),
    path(SETTINGS, channels.settings_page, name="notification-settings"),
    path(f"{SETTINGS}/ways", channels.preferences, name="notification-ways"),
    path(f"{SETTINGS}/mail", channels.mail, name="notification-mail"),
    path(f"{SETTINGS}/channels", channels.create, name="channels"),
    path(CHANNEL, channels.edit, name="channel"),
    path(f"{CHANNEL}/test", channels.test, name="channel-test"),
    path(f"{CHANNEL}/enable", channels.enable, name="channel-enable"),
    path(f"{CHANNEL}/disable", channels.disable, name="channel-disable"),
    path(f"{CHANNEL}/secret", channels.secret, name="channel-secret"),
    path(f"{CHANNEL}/remove", channels.remove, name="channel-remove"),
    path("deliveries", views.deliveries, name="deliveries"),
    path("deliveries/<str:delivery_id>/replay", views.replay, name="delivery-replay"),
]
